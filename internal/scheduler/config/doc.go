// Package config reads how pods are to be scheduled: a KubeSchedulerConfiguration
// (kubescheduler.config.k8s.io/v1) becomes profiles for the engine. It promises
// that what it accepts is done: a plugin, extension point or extender that
// Sinawi does not have is an error, not silence. It opens no file and never
// talks to the cluster.
package config
