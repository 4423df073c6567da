package com.google.ai.edge.litert;

/** SIGNATURE STUB, not LiteRT. */
public abstract class JniHandle implements AutoCloseable {
    @Override
    public final void close() {}
}
