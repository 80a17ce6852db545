// Package manifest reads the workloads of an application from files of manifests, as
// `kubectl apply -f` takes them, and says which pods they ask for. It talks to no
// cluster; kinds that run no pods are left out, but for the services that they are
// spread by.
package manifest

import (
	"cmp"
	"fmt"
	"io"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/sinawi/sinawi/internal/scheduler/outlook"
)

// Application is what manifests have that matters to where pods go.
type Application struct {
	Workloads []outlook.Workload
	Services  []*corev1.Service
}

// Read reads files, folders and "-" (stdin). Objects without a namespace get the given
// one.
func Read(files []string, stdin io.Reader, namespace string) (Application, error) {
	var out Application
	if len(files) == 0 {
		return out, nil
	}
	builder := resource.NewLocalBuilder().Unstructured().ContinueOnError().Flatten()
	for _, f := range files {
		if f == "-" {
			builder = builder.Stream(stdin, "stdin")
			continue
		}
		builder = builder.FilenameParam(false, &resource.FilenameOptions{Filenames: []string{f}})
	}
	infos, err := builder.Do().Infos()
	if err != nil {
		return out, fmt.Errorf("read manifests: %w", err)
	}
	for _, info := range infos {
		if err := out.add(info.Object, namespace); err != nil {
			return out, fmt.Errorf("%s: %w", info.Source, err)
		}
	}
	return out, nil
}

func (a *Application) add(obj runtime.Object, namespace string) error {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok || !scheme.Scheme.Recognizes(u.GroupVersionKind()) {
		return nil
	}
	typed, err := scheme.Scheme.New(u.GroupVersionKind())
	if err != nil {
		return err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, typed, true); err != nil {
		return fmt.Errorf("%s %s: %w", u.GetKind(), u.GetName(), err)
	}
	namespace = cmp.Or(u.GetNamespace(), namespace)
	if s, ok := typed.(*corev1.Service); ok {
		s.Namespace = namespace
		a.Services = append(a.Services, s)
		return nil
	}
	w := outlook.Workload{Kind: u.GetKind(), Name: u.GetName(), Namespace: namespace, Count: 1}
	template := fill(&w, typed)
	if template == nil {
		return nil
	}
	w.Pod = &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: *template.Spec.DeepCopy()}
	w.Pod.Name, w.Pod.Namespace = w.Name, w.Namespace
	a.Workloads = append(a.Workloads, w)
	return nil
}

// fill sets how many pods a workload asks for and returns what they are like.
func fill(w *outlook.Workload, obj runtime.Object) *corev1.PodTemplateSpec {
	count := func(n *int32) {
		if n != nil {
			w.Count = int(*n)
		}
	}
	switch o := obj.(type) {
	case *corev1.Pod:
		return &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: o.Labels, Annotations: o.Annotations}, Spec: o.Spec}
	case *appsv1.Deployment:
		count(o.Spec.Replicas)
		w.Selector = o.Spec.Selector
		return &o.Spec.Template
	case *appsv1.ReplicaSet:
		count(o.Spec.Replicas)
		w.Selector = o.Spec.Selector
		return &o.Spec.Template
	case *corev1.ReplicationController:
		count(o.Spec.Replicas)
		w.Selector = &metav1.LabelSelector{MatchLabels: o.Spec.Selector}
		return o.Spec.Template
	case *appsv1.StatefulSet:
		count(o.Spec.Replicas)
		w.Selector = o.Spec.Selector
		return &o.Spec.Template
	case *appsv1.DaemonSet:
		w.PerNode = true
		return &o.Spec.Template
	case *batchv1.Job:
		return job(w, &o.Spec)
	case *batchv1.CronJob:
		return job(w, &o.Spec.JobTemplate.Spec)
	}
	return nil
}

func job(w *outlook.Workload, spec *batchv1.JobSpec) *corev1.PodTemplateSpec {
	if spec.Parallelism != nil {
		w.Count = int(*spec.Parallelism)
	}
	if spec.Completions != nil {
		w.Count = min(w.Count, int(*spec.Completions))
	}
	if spec.Suspend != nil && *spec.Suspend {
		w.Count = 0
	}
	return &spec.Template
}
