package com.facebook.jni;

/** Something else that native code threw; made there. */
public class UnknownCppException extends CppException {
    private static final long serialVersionUID = 1L;

    public UnknownCppException() {
        super("unknown");
    }

    public UnknownCppException(String message) {
        super(message);
    }
}
