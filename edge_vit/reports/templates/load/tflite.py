# pip install ai-edge-litert pillow numpy
import json
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps


{% include "load/pixels.py" %}


interpreter = Interpreter(model_path="{{ file }}")
interpreter.allocate_tensors()
{% include "load/take.py" %}
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs)
interpreter.invoke()
{% if is_classifier -%}
outputs = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
{% include "load/say.py" %}
{%- else -%}
maps = [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]
{%- endif %}
