package com.google.ai.edge.litert;

/** SIGNATURE STUB, not LiteRT. */
public interface NpuAcceleratorProvider {}
