package com.google.ai.edge.litert;

/** SIGNATURE STUB, not LiteRT. */
public enum Accelerator {
    NONE, CPU, GPU, NPU
}
