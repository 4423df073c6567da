package com.google.ai.edge.litert;

import android.content.Context;
import java.util.Set;

/** SIGNATURE STUB, not LiteRT. */
public final class Environment extends JniHandle {
    private Environment() {}

    public static Environment create(Context context) throws LiteRtException {
        throw new UnsupportedOperationException("stub");
    }

    public static Environment create(Context context, NpuAcceleratorProvider provider) throws LiteRtException {
        throw new UnsupportedOperationException("stub");
    }

    public Set<Accelerator> getAvailableAccelerators() throws LiteRtException {
        throw new UnsupportedOperationException("stub");
    }
}
