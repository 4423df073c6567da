package com.google.ai.edge.litert;

import android.content.Context;

/** SIGNATURE STUB, not LiteRT. */
public final class BuiltinNpuAcceleratorProvider implements NpuAcceleratorProvider {
    public BuiltinNpuAcceleratorProvider(Context context) {
        throw new UnsupportedOperationException("stub");
    }
}
