package org.tensorflow.lite;

/** SIGNATURE STUB, not LiteRT. */
public interface Tensor {
    int numBytes();

    QuantizationParams quantizationParams();

    /** SIGNATURE STUB. */
    class QuantizationParams {
        public float getScale() {
            throw new UnsupportedOperationException("stub");
        }

        public int getZeroPoint() {
            throw new UnsupportedOperationException("stub");
        }
    }
}
