package java.lang.invoke;

/** SIGNATURE STUB for the compiler, which names it where a lambda stands; ProGuard writes classes instead. */
public abstract class CallSite {}
