# pip install coremltools pillow; runs on macOS alone
# elsewhere: python -m edge_vit.classify {{ file }} picture.jpg
import coremltools
from PIL import Image, ImageOps

picture = ImageOps.fit(Image.open("picture.jpg").convert("RGB"), ({{ wide }}, {{ high }}), Image.Resampling.{{ filter }})
model = coremltools.models.MLModel("{{ file }}")
print(model.predict({"{{ input.name }}": picture}))
