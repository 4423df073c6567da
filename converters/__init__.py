"""One module a target: a float or already quantized graph goes in, an artefact and what is known about it come out."""
