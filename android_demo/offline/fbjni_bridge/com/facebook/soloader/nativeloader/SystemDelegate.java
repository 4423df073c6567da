package com.facebook.soloader.nativeloader;

/** The system's loader. */
public final class SystemDelegate implements NativeLoaderDelegate {}
