// picture: a Bitmap of {{ wide }} x {{ high }}, resized until it covers {{ box_wide }} x {{ box_high }}, its centre cut out
val pixels = IntArray({{ wide }} * {{ high }})
picture.getPixels(pixels, 0, {{ wide }}, 0, 0, {{ wide }}, {{ high }})
val input = ByteBuffer.allocateDirect({{ "4 * " if is_float }}{{ shape | join(" * ") }}).order(ByteOrder.nativeOrder())
{% if shape[0] > 1 -%}
repeat({{ shape[0] }}) {  // the file takes {{ shape[0] }} pictures at once
{% endif -%}
for (pixel in pixels) for (at in intArrayOf(16, 8, 0)) {
    val value = pixel shr at and 255
    {% if is_float %}input.putFloat(value.toFloat()){% else %}input.put(({{ "value - %d" % -shift if shift else "value" }}).toByte()){% endif %}
}
{%- if shape[0] > 1 %}
}
{%- endif %}
input.rewind()
