"""Palettes: one colour for each role, after Okabe and Ito, told apart by every kind of colour vision.

All colours of one theme are different strings, so that a colour in an SVG names its role.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

THEMES = ("light", "dark", "auto")

_TABLE = """
bg    #FFFFFF #12161C
ink   #1F2933 #E6EAF0
mute  #5B6875 #9FAAB8
fwd   #00664A #5FE3B5
fwdl  #009E73 #2DBE90
bwd   #A83800 #FF9E63
bwdl  #D55E00 #F07A2E
inp   #E8F3FB #10293B
inpb  #0072B2 #56B4E9
par   #FEF5DF #33270B
parb  #B87F00 #E6B450
out   #F6EAF2 #34202C
outb  #A34C80 #DF94BD
con   #F5F7FA #1D232B
conb  #7B8794 #8A96A3
conl  #7A8793 #8995A2
op    #FEFEFE #1B212A
opb   #3E4C59 #A9B4C2
clus  #F7F9FB #181E26
clusb #D3DAE2 #333D49
"""
_ROWS = [line.split() for line in _TABLE.split("\n") if line]

LIGHT: Mapping[str, str] = MappingProxyType({role: light for role, light, _ in _ROWS})
DARK: Mapping[str, str] = MappingProxyType({role: dark for role, _, dark in _ROWS})


def palette(theme: str) -> Mapping[str, str]:
    """The colours of a theme by role; "auto" is light wherever it cannot follow the reader's setting.

    >>> palette("dark")["bg"]
    '#12161C'
    """
    return DARK if theme == "dark" else LIGHT
