package java.lang.invoke;

/** SIGNATURE STUB, see {@link CallSite}. */
public final class MethodType {}
