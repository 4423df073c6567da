"""Vision transformers on phones: exact deploy forms, quantization-aware training, conversion, proof and measurement."""
