package com.facebook.jni;

/** A native function as a Runnable. */
public class NativeRunnable implements Runnable {
    // Read from native code.
    private final HybridData mHybridData;

    private NativeRunnable(HybridData hybridData) {
        mHybridData = hybridData;
    }

    // Registered by libfbjni.so.
    @Override
    public native void run();
}
