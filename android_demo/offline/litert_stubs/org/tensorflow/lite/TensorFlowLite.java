package org.tensorflow.lite;

/** SIGNATURE STUB, not LiteRT. */
public final class TensorFlowLite {
    private TensorFlowLite() {}

    public static String runtimeVersion() {
        throw new UnsupportedOperationException("stub");
    }
}
