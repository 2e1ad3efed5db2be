"""The language: text in, programs and diagnostics out. Pure: no file, clock, network or chance."""
