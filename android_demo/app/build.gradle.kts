plugins {
    alias(libs.plugins.android.application)
}

android {
    namespace = "edgevit.demo"
    compileSdk = 36

    defaultConfig {
        applicationId = "edgevit.demo"
        minSdk = 26
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
        ndk {
            abiFilters += listOf("arm64-v8a", "x86_64")
        }
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }

    // One flavour for each runtime, and one with both.
    flavorDimensions += "runtime"
    productFlavors {
        create("executorch") { dimension = "runtime" }
        create("litert") { dimension = "runtime" }
        create("full") { dimension = "runtime" }
    }
    sourceSets {
        getByName("executorch") { java.directories.add("src/runtimeExecutorch/java") }
        getByName("litert") { java.directories.add("src/runtimeLitert/java") }
        getByName("full") {
            java.directories.add("src/runtimeExecutorch/java")
            java.directories.add("src/runtimeLitert/java")
        }
    }

    // Models are stored as they are: compressing weights gains little and costs time when they are copied out.
    androidResources {
        noCompress += listOf("pte", "tflite")
    }

    lint {
        abortOnError = true
        checkDependencies = true
    }

    buildTypes {
        release {
            // Nothing is renamed or removed: ExecuTorch's native code looks classes up by name.
            isMinifyEnabled = false
            signingConfig = signingConfigs.getByName("debug")
        }
    }
}

dependencies {
    implementation(project(":core"))
    "executorchImplementation"(libs.executorch.android)
    "litertImplementation"(libs.litert)
    "litertRuntimeOnly"(libs.litert.gpu)
    "fullImplementation"(libs.executorch.android)
    "fullImplementation"(libs.litert)
    "fullRuntimeOnly"(libs.litert.gpu)
    androidTestImplementation(libs.androidx.test.runner)
    androidTestImplementation(libs.androidx.test.junit)
}
