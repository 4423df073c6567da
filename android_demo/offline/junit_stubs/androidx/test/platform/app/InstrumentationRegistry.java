package androidx.test.platform.app;

import android.app.Instrumentation;

/** SIGNATURE STUB, not androidx.test. */
public final class InstrumentationRegistry {
    private InstrumentationRegistry() {}

    public static Instrumentation getInstrumentation() {
        throw new UnsupportedOperationException("stub");
    }
}
