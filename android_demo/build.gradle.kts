plugins {
    alias(libs.plugins.android.application) apply false
}

// `gradle wrapper` writes gradlew, gradlew.bat and the jar for this release.
tasks.named<Wrapper>("wrapper") {
    gradleVersion = libs.versions.gradle.get()
}
