@echo off
rem Stands in for Gradle's own script until "gradle wrapper" has written it: the jar that it starts is a binary and not kept here.
if not exist "%~dp0gradle\wrapper\gradle-wrapper.jar" (
    echo gradle\wrapper\gradle-wrapper.jar is missing; install Gradle once and run: gradle wrapper 1>&2
    exit /b 1
)
java -jar "%~dp0gradle\wrapper\gradle-wrapper.jar" -p "%~dp0." %*
