{% if input.normalization == "caller" -%}
inputs = ((pixels("picture.jpg") / 255 - {{ input.mean }}) / {{ input.std }}).astype(np.{{ input.dtype }})
{%- elif input.dtype in ("uint8", "int8") and shift -%}
inputs = (pixels("picture.jpg").astype(np.int16) + {{ shift }}).astype(np.{{ input.dtype }})
{%- elif input.dtype == "uint8" -%}
inputs = pixels("picture.jpg")
{%- else -%}
inputs = pixels("picture.jpg").astype(np.{{ input.dtype }})
{%- endif %}
{%- if input.layout == "NCHW" %}
inputs = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
{%- endif %}
{%- if shape[0] > 1 %}
inputs = np.repeat(inputs, {{ shape[0] }}, 0)  # the file takes {{ shape[0] }} pictures at once
{%- endif %}
