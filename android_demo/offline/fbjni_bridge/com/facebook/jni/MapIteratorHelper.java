package com.facebook.jni;

import java.util.Iterator;
import java.util.Map;

/** Walks over a map for native code, which reads the fields after each {@link #hasNext}. */
public class MapIteratorHelper {
    private final Iterator<? extends Map.Entry<?, ?>> entries;
    private Object mKey;
    private Object mValue;

    public MapIteratorHelper(Map<?, ?> map) {
        entries = map.entrySet().iterator();
    }

    public boolean hasNext() {
        if (!entries.hasNext()) {
            mKey = null;
            mValue = null;
            return false;
        }
        Map.Entry<?, ?> entry = entries.next();
        mKey = entry.getKey();
        mValue = entry.getValue();
        return true;
    }
}
