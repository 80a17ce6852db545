// Package env makes the environment of a container out of its spec, the
// ConfigMaps and Secrets that it names, the pod's own fields and the services of
// its namespace, and expands $(VAR) in what else may refer to it.
//
// What it answers depends on its arguments and sources alone; the order is
// that of the declarations, so that two equal pods get equal environments. An
// error names what is missing and is meant for the pod's owner.
package env

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/volumes/downward"
)

// Source reads the objects that environments refer to.
type Source interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Options are what environments are made of beside the pod.
type Options struct {
	// Services lists a namespace's services; nil is none.
	Services func(namespace string) []corev1.Service
	// Allocatable is what an unset limit means; nil is nothing.
	Allocatable func() corev1.ResourceList
	// VolumePath is where a pod's volume lies, for variables read from files.
	VolumePath func(pod *corev1.Pod, volume string) (string, error)
}

// Maker makes environments.
type Maker struct {
	source  Source
	options Options
}

// New returns a Maker over source.
func New(source Source, options Options) *Maker {
	if options.Services == nil {
		options.Services = func(string) []corev1.Service { return nil }
	}
	if options.Allocatable == nil {
		options.Allocatable = func() corev1.ResourceList { return nil }
	}
	if options.VolumePath == nil {
		options.VolumePath = func(_ *corev1.Pod, volume string) (string, error) {
			return "", fmt.Errorf("cannot find the volume %q referenced by FileKeyRef", volume)
		}
	}
	return &Maker{source: source, options: options}
}

// Env returns the environment of a container. The pod's status must carry its
// addresses.
func (m *Maker) Env(ctx context.Context, pod *corev1.Pod, container *corev1.Container) ([]*cri.KeyValue, error) {
	links := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
	services := m.serviceVars(pod.Namespace, links)
	made := making{maker: m, pod: pod, container: container, values: map[string]string{},
		configMaps: map[string]*corev1.ConfigMap{}, secrets: map[string]*corev1.Secret{}}
	for i := range container.EnvFrom {
		if err := made.from(ctx, &container.EnvFrom[i]); err != nil {
			return nil, err
		}
	}
	known := func(name string) (string, bool) {
		if value, ok := made.values[name]; ok {
			return value, true
		}
		value, ok := services[name]
		return value, ok
	}
	for i := range container.Env {
		variable := &container.Env[i]
		value, ok, err := made.value(ctx, variable, known)
		if err != nil {
			return nil, err
		}
		if ok {
			made.set(variable.Name, value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		if _, ok := made.values[name]; !ok {
			made.set(name, services[name])
		}
	}
	vars := make([]*cri.KeyValue, len(made.order))
	for i, name := range made.order {
		vars[i] = &cri.KeyValue{Key: name, Value: []byte(made.values[name])}
	}
	return vars, nil
}

// making is one environment under way.
type making struct {
	maker      *Maker
	pod        *corev1.Pod
	container  *corev1.Container
	order      []string
	values     map[string]string
	configMaps map[string]*corev1.ConfigMap
	secrets    map[string]*corev1.Secret
}

func (m *making) set(name, value string) {
	if _, ok := m.values[name]; !ok {
		m.order = append(m.order, name)
	}
	m.values[name] = value
}

func (m *making) from(ctx context.Context, from *corev1.EnvFromSource) error {
	switch {
	case from.ConfigMapRef != nil:
		object, err := m.configMap(ctx, from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
		if object == nil {
			return err
		}
		for _, key := range slices.Sorted(maps.Keys(object.Data)) {
			m.set(from.Prefix+key, object.Data[key])
		}
	case from.SecretRef != nil:
		object, err := m.secret(ctx, from.SecretRef.Name, from.SecretRef.Optional)
		if object == nil {
			return err
		}
		for _, key := range slices.Sorted(maps.Keys(object.Data)) {
			m.set(from.Prefix+key, string(object.Data[key]))
		}
	}
	return nil
}

// configMap answers nil without an error when an optional one is missing.
func (m *making) configMap(ctx context.Context, name string, optional *bool) (*corev1.ConfigMap, error) {
	if object, ok := m.configMaps[name]; ok {
		return object, nil
	}
	object, err := m.maker.source.ConfigMap(ctx, m.pod.Namespace, name)
	if err != nil {
		return nil, unless(optional, err)
	}
	m.configMaps[name] = object
	return object, nil
}

func (m *making) secret(ctx context.Context, name string, optional *bool) (*corev1.Secret, error) {
	if object, ok := m.secrets[name]; ok {
		return object, nil
	}
	object, err := m.maker.source.Secret(ctx, m.pod.Namespace, name)
	if err != nil {
		return nil, unless(optional, err)
	}
	m.secrets[name] = object
	return object, nil
}

func unless(optional *bool, err error) error {
	if yes(optional) && apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func yes(b *bool) bool { return b != nil && *b }

// value is what a declared variable holds; not ok is an optional one that is
// not to be set.
func (m *making) value(ctx context.Context, variable *corev1.EnvVar, known Lookup) (value string, ok bool, err error) {
	if variable.Value != "" || variable.ValueFrom == nil {
		return expand(variable.Value, known), true, nil
	}
	switch from := variable.ValueFrom; {
	case from.FieldRef != nil:
		value, err = downward.Field(m.pod, from.FieldRef.FieldPath)
		return value, true, err
	case from.ResourceFieldRef != nil:
		value, err = downward.Resource(from.ResourceFieldRef, m.pod, m.container, m.maker.options.Allocatable())
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		object, err := m.configMap(ctx, ref.Name, ref.Optional)
		if object == nil {
			return "", false, err
		}
		value, ok = object.Data[ref.Key]
		if !ok && !yes(ref.Optional) {
			return "", false, fmt.Errorf("couldn't find key %v in ConfigMap %v/%v", ref.Key, m.pod.Namespace, ref.Name)
		}
		return value, ok, nil
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		object, err := m.secret(ctx, ref.Name, ref.Optional)
		if object == nil {
			return "", false, err
		}
		data, ok := object.Data[ref.Key]
		if !ok && !yes(ref.Optional) {
			return "", false, fmt.Errorf("couldn't find key %v in Secret %v/%v", ref.Key, m.pod.Namespace, ref.Name)
		}
		return string(data), ok, nil
	case from.FileKeyRef != nil:
		return m.file(from.FileKeyRef)
	}
	return "", true, nil
}

func (m *making) file(ref *corev1.FileKeySelector) (string, bool, error) {
	dir, err := m.maker.options.VolumePath(m.pod, ref.VolumeName)
	if err != nil {
		return "", false, err
	}
	value, ok, err := readKey(dir, ref.Path, ref.Key)
	switch {
	case err != nil:
		return "", false, fmt.Errorf("couldn't parse env file: %w", err)
	case !ok && !yes(ref.Optional):
		return "", false, fmt.Errorf("environment variable key %q not found in file %q", ref.Key, cmp.Or(ref.Path, "/"))
	}
	return value, ok, nil
}
