package com.google.ai.edge.litert;

import java.util.List;

/** SIGNATURE STUB, not LiteRT: the part of it that the app calls, so that it compiles without the library. */
public final class CompiledModel extends JniHandle {
    private CompiledModel() {}

    public static CompiledModel create(String filePath, Options options, Environment environment) throws LiteRtException {
        throw new UnsupportedOperationException("stub");
    }

    public List<TensorBuffer> createInputBuffers() throws LiteRtException {
        throw new UnsupportedOperationException("stub");
    }

    public List<TensorBuffer> createOutputBuffers() throws LiteRtException {
        throw new UnsupportedOperationException("stub");
    }

    public void run(List<TensorBuffer> inputs, List<TensorBuffer> outputs) throws LiteRtException {
        throw new UnsupportedOperationException("stub");
    }

    /** SIGNATURE STUB. */
    public static final class Options {
        public Options(Accelerator... accelerators) {
            throw new UnsupportedOperationException("stub");
        }

        public void setCpuOptions(CpuOptions options) {
            throw new UnsupportedOperationException("stub");
        }
    }

    /** SIGNATURE STUB. */
    public static final class CpuOptions {
        public CpuOptions(Integer numThreads, Integer xnnPackFlags, String xnnPackWeightCachePath) {
            throw new UnsupportedOperationException("stub");
        }
    }
}
