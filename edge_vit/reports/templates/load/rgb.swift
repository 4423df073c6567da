// rgb: [{{ swift_type }}] of {{ shape | join(" x ") }}, RGB from {{ shift }} to {{ input.value_range[1] | int }}:
// the picture resized until it covers {{ box_wide }} x {{ box_high }}, its centre cut out
