package com.facebook.soloader.nativeloader;

/** A way of loading libraries; there is only the system's here. */
public interface NativeLoaderDelegate {}
