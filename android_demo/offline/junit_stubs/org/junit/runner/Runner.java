package org.junit.runner;

/** SIGNATURE STUB, not JUnit. */
public abstract class Runner {}
