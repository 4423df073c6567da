package org.tensorflow.lite;

import java.io.File;

/** SIGNATURE STUB, not LiteRT: the part of its Interpreter API that the app calls, so that it compiles without the library. */
public final class Interpreter implements AutoCloseable {
    public Interpreter(File model, Options options) {
        throw new UnsupportedOperationException("stub");
    }

    public Tensor getInputTensor(int index) {
        throw new UnsupportedOperationException("stub");
    }

    public Tensor getOutputTensor(int index) {
        throw new UnsupportedOperationException("stub");
    }

    public void run(Object input, Object output) {
        throw new UnsupportedOperationException("stub");
    }

    @Override
    public void close() {}

    /** SIGNATURE STUB. */
    public static class Options {
        public Options setNumThreads(int threads) {
            throw new UnsupportedOperationException("stub");
        }

        public Options setUseXNNPACK(boolean isUsed) {
            throw new UnsupportedOperationException("stub");
        }
    }
}
