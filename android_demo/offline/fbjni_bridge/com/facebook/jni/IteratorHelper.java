package com.facebook.jni;

import java.util.Iterator;

/** Walks over a collection for native code, which reads the field after each {@link #hasNext}. */
public class IteratorHelper {
    private final Iterator<?> items;
    private Object mElement;

    public IteratorHelper(Iterable<?> source) {
        items = source.iterator();
    }

    public IteratorHelper(Iterator<?> source) {
        items = source;
    }

    public boolean hasNext() {
        mElement = items.hasNext() ? items.next() : null;
        return mElement != null;
    }
}
