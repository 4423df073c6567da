package com.google.ai.edge.litert;

/** SIGNATURE STUB, not LiteRT. */
public final class TensorBuffer extends JniHandle {
    private TensorBuffer() {}

    public void writeFloat(float[] data) throws LiteRtException {
        throw new UnsupportedOperationException("stub");
    }

    public void writeInt8(byte[] data) throws LiteRtException {
        throw new UnsupportedOperationException("stub");
    }

    public float[] readFloat() throws LiteRtException {
        throw new UnsupportedOperationException("stub");
    }
}
