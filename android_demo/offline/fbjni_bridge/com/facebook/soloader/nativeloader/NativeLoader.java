package com.facebook.soloader.nativeloader;

/** What ExecuTorch's classes call to load their library; here plainly the system's loader. */
public final class NativeLoader {
    private static boolean isInitialized;

    private NativeLoader() {}

    public static synchronized boolean isInitialized() {
        return isInitialized;
    }

    public static synchronized void init(NativeLoaderDelegate delegate) {
        isInitialized = true;
    }

    public static boolean loadLibrary(String name) {
        System.loadLibrary(name);
        return true;
    }
}
