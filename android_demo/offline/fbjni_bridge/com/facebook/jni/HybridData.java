package com.facebook.jni;

import com.facebook.soloader.nativeloader.NativeLoader;
import java.lang.ref.PhantomReference;
import java.lang.ref.ReferenceQueue;
import java.util.Collections;
import java.util.HashSet;
import java.util.Set;

/**
 * Holds the native half of an object. libfbjni.so makes it, sets {@code mDestructor.mNativePointer}, and reads that again on each call.
 *
 * <p>The native half is deleted by {@link #resetNative}, or by a thread of its own once the holder is unreachable.
 */
public class HybridData {
    private static final ReferenceQueue<Object> UNREACHABLE = new ReferenceQueue<>();
    private static final Set<Destructor> ALIVE = Collections.synchronizedSet(new HashSet<Destructor>());

    // Read from native code, by name and type.
    private final Destructor mDestructor = new Destructor(this);

    static {
        NativeLoader.loadLibrary("fbjni");
        Thread reaper = new Thread(HybridData::reap, "fbjni destructor");
        reaper.setDaemon(true);
        reaper.start();
    }

    public synchronized void resetNative() {
        mDestructor.destruct();
    }

    public boolean isValid() {
        return mDestructor.mNativePointer != 0;
    }

    private static void reap() {
        while (true) {
            try {
                ((Destructor) UNREACHABLE.remove()).destruct();
            } catch (InterruptedException e) {
                return;
            }
        }
    }

    /** Owns the pointer; outlives the holder until the native half is gone. */
    public static class Destructor extends PhantomReference<Object> {
        // Written and read from native code.
        private volatile long mNativePointer;

        Destructor(Object holder) {
            super(holder, UNREACHABLE);
            ALIVE.add(this);
        }

        synchronized void destruct() {
            long pointer = mNativePointer;
            mNativePointer = 0;
            ALIVE.remove(this);
            if (pointer != 0) {
                deleteNative(pointer);
            }
        }

        // Registered by libfbjni.so.
        static native void deleteNative(long pointer);
    }
}
