package com.facebook.jni;

/** Lets a native thread run a function below a Java frame, so that it finds the app's classes. */
public class ThreadScopeSupport {
    // Called from native code.
    private static void runStdFunction(long pointer) {
        runStdFunctionImpl(pointer);
    }

    // Registered by libfbjni.so.
    private static native void runStdFunctionImpl(long pointer);
}
