package java.lang.invoke;

/** SIGNATURE STUB, see {@link CallSite}. */
public abstract class MethodHandle {}
