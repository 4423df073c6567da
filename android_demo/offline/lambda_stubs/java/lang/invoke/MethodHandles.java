package java.lang.invoke;

/** SIGNATURE STUB, see {@link CallSite}. */
public class MethodHandles {
    /** SIGNATURE STUB. */
    public static final class Lookup {}
}
