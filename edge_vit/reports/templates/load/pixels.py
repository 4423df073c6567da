def pixels(path):
    """RGB, resized until it covers {{ box_wide }} x {{ box_high }}, its centre cut out: (1, {{ high }}, {{ wide }}, 3)."""
    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    scale = max({{ box_wide }} / picture.width, {{ box_high }} / picture.height)
    size = int(picture.width * scale + 0.5), int(picture.height * scale + 0.5)
    picture = picture.resize(size, Image.Resampling.{{ filter }})
    left, top = (size[0] - {{ wide }}) // 2, (size[1] - {{ high }}) // 2
    return np.asarray(picture.crop((left, top, left + {{ wide }}, top + {{ high }})))[None]
