package com.google.ai.edge.litert;

/** SIGNATURE STUB, not LiteRT. */
public final class LiteRtException extends Exception {
    private static final long serialVersionUID = 1L;
}
