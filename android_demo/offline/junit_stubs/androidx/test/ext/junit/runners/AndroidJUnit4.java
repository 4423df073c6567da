package androidx.test.ext.junit.runners;

import org.junit.runner.Runner;

/** SIGNATURE STUB, not androidx.test. */
public final class AndroidJUnit4 extends Runner {}
