package com.facebook.jni.annotations;

/** Marks what native code looks up by name. */
public @interface DoNotStrip {}
