// Plain Java: no Android in here, so that the same bytes run in tests on any JVM. The probe that the tests drive lies in
// src/probe, which is no source set of Gradle's: from Gradle 9 on, test sources without a test fail the build.
plugins {
    `java-library`
}

java {
    sourceCompatibility = JavaVersion.VERSION_1_8
    targetCompatibility = JavaVersion.VERSION_1_8
}
