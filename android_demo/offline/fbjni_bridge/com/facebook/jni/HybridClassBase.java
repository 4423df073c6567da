package com.facebook.jni;

/** Base of classes that are their own holder; native code only asks whether a class is one. */
public abstract class HybridClassBase extends HybridData {}
