package pod

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/volume"
)

func env(l *check.List, vars []corev1.EnvVar, path *field.Path) {
	for i := range vars {
		v, at := &vars[i], path.Index(i)
		if v.Name == "" {
			l.Required(at.Child("name"), "")
		} else {
			l.Messages(at.Child("name"), v.Name, validation.IsRelaxedEnvVarName(v.Name))
		}
		if v.ValueFrom != nil {
			valueFrom(l, v, at.Child("valueFrom"))
		}
	}
}

func valueFrom(l *check.List, v *corev1.EnvVar, path *field.Path) {
	from, sources := v.ValueFrom, 0
	if r := from.FieldRef; r != nil {
		sources++
		volume.FieldRef(l, r, path.Child("fieldRef"), "metadata.name", "metadata.namespace", "metadata.uid",
			"spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs")
	}
	if r := from.ResourceFieldRef; r != nil {
		sources++
		volume.ResourceFieldRef(l, r, false, path.Child("resourceFieldRef"))
	}
	if r := from.ConfigMapKeyRef; r != nil {
		sources++
		keyRef(l, r.Name, r.Key, path.Child("configMapKeyRef"))
	}
	if r := from.SecretKeyRef; r != nil {
		sources++
		keyRef(l, r.Name, r.Key, path.Child("secretKeyRef"))
	}
	if r := from.FileKeyRef; r != nil {
		sources++
		fileKeyRef(l, r, path.Child("fileKeyRef"))
	}
	switch {
	case sources == 0:
		l.Invalid(path, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`")
	case v.Value != "":
		l.Invalid(path, "", "may not be specified when `value` is not empty")
	case sources > 1:
		l.Invalid(path, "", "may not have more than one field specified at a time")
	}
}

func keyRef(l *check.List, name, key string, path *field.Path) {
	l.Subdomain(path.Child("name"), name)
	if key == "" {
		l.Required(path.Child("key"), "")
		return
	}
	l.Messages(path.Child("key"), key, validation.IsConfigMapKey(key))
}

// fileKeyRef checks a variable that is read from a file in a volume of the pod.
func fileKeyRef(l *check.List, r *corev1.FileKeySelector, path *field.Path) {
	if r.Key == "" {
		l.Required(path.Child("key"), "")
	} else {
		l.Messages(path.Child("key"), r.Key, validation.IsRelaxedEnvVarName(r.Key))
	}
	if r.VolumeName == "" {
		l.Required(path.Child("volumeName"), "")
	} else {
		l.Label(path.Child("volumeName"), r.VolumeName)
	}
	if r.Path == "" {
		l.Required(path.Child("path"), "")
	} else {
		l.NoBacksteps(path.Child("path"), r.Path)
	}
}

// fileVolumes checks that the files that variables are read from lie in empty
// directories of the pod, which is looked for among all volumes, sound or not.
func fileVolumes(l *check.List, s *corev1.PodSpec, path *field.Path) {
	volumes := map[string]*corev1.Volume{}
	for i := range s.Volumes {
		volumes[s.Volumes[i].Name] = &s.Volumes[i]
	}
	EachContainer(s, path, func(c *corev1.Container, at *field.Path) {
		for i := range c.Env {
			if c.Env[i].ValueFrom == nil || c.Env[i].ValueFrom.FileKeyRef == nil {
				continue
			}
			name := c.Env[i].ValueFrom.FileKeyRef.VolumeName
			named := at.Child("env").Index(i).Child("valueFrom", "fileKeyRef", "volumeName")
			switch v := volumes[name]; {
			case v == nil:
				l.Add(field.NotFound(named, name))
			case v.EmptyDir == nil:
				l.Invalid(named, name, "referenced volume must be of type emptyDir")
			}
		}
	})
}

func envFrom(l *check.List, list []corev1.EnvFromSource, path *field.Path) {
	for i := range list {
		s, at := &list[i], path.Index(i)
		if s.Prefix != "" {
			l.Messages(at.Child("prefix"), s.Prefix, validation.IsRelaxedEnvVarName(s.Prefix))
		}
		sources := 0
		if r := s.ConfigMapRef; r != nil {
			sources++
			envSource(l, r.Name, at.Child("configMapRef"))
		}
		if r := s.SecretRef; r != nil {
			sources++
			envSource(l, r.Name, at.Child("secretRef"))
		}
		switch {
		case sources == 0:
			l.Invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
		case sources > 1:
			l.Invalid(path, "", "may not have more than one field specified at a time")
		}
	}
}

func envSource(l *check.List, name string, path *field.Path) {
	if name == "" {
		l.Required(path.Child("name"), "")
		return
	}
	l.Messages(path.Child("name"), name, apivalidation.NameIsDNSSubdomain(name, true))
}
