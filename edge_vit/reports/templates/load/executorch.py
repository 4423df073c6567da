# pip install executorch pillow numpy
import json
from pathlib import Path

import numpy as np
import torch
from executorch.runtime import Runtime
from PIL import Image, ImageOps


{% include "load/pixels.py" %}


method = Runtime.get().load_program(Path("{{ file }}").read_bytes()).load_method("forward")
{% include "load/take.py" %}
{% if is_classifier -%}
outputs = method.execute([torch.from_numpy(inputs)])[0].numpy()[0]
{% include "load/say.py" %}
{%- else -%}
maps = method.execute([torch.from_numpy(inputs)])
{%- endif %}
