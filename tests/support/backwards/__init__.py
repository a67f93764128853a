"""Right and wrong hand-written backwards, as data: what the check, the doctor, the proof and power are tried on."""
