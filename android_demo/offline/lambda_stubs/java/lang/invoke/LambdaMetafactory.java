package java.lang.invoke;

/** SIGNATURE STUB, see {@link CallSite}. */
public final class LambdaMetafactory {
    private LambdaMetafactory() {}

    public static CallSite metafactory(
            MethodHandles.Lookup caller, String name, MethodType invoked, MethodType sam, MethodHandle code, MethodType instantiated) {
        throw new UnsupportedOperationException("stub");
    }
}
