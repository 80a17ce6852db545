package demo

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/klauspost/compress/zstd"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sinawi/sinawi/internal/runtime/image"
)

//go:embed all:embedded
var embedded embed.FS

// ImageName is the image that ImportImage makes: a web server on port 8080 that
// answers with the pod it runs in.
const ImageName = "sinawi.local/demo:1"

const (
	appName = "web"
	appPort = 8080
)

// ImportImage makes the application's image from the embedded program and gives
// it to the node's runtime.
func ImportImage(ctx context.Context, socket string) error {
	packed, err := embedded.ReadFile("embedded/web.zst")
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("this sinawi was built without the demo's web server: run `make helper`, then build again")
	}
	if err != nil {
		return fmt.Errorf("read embedded web server: %w", err)
	}
	r, err := zstd.NewReader(bytes.NewReader(packed))
	if err != nil {
		return fmt.Errorf("unpack web server: %w", err)
	}
	defer r.Close()
	program, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("unpack web server: %w", err)
	}
	archive, err := image.Build(image.Spec{
		Name:       ImageName,
		Files:      []image.File{{Path: "web", Data: program, Mode: 0o755}},
		Entrypoint: []string{"/web"},
		User:       "65534",
		Ports:      []string{fmt.Sprintf("%d/tcp", appPort)},
	})
	if err != nil {
		return err
	}
	_, err = image.Import(ctx, socket, archive)
	return err
}

func deployment(namespace string, replicas int32, version string) *appsv1.Deployment {
	labels := map[string]string{"app": appName}
	whole, none := intstr.FromInt32(1), intstr.FromInt32(0)
	no := false
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: appName},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &whole, MaxUnavailable: &none}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					AutomountServiceAccountToken: &no,
					Containers: []corev1.Container{{
						Name:  appName,
						Image: ImageName,
						// The image is on the node already and nowhere else.
						ImagePullPolicy: corev1.PullNever,
						Env: []corev1.EnvVar{
							{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
							{Name: "DEMO_VERSION", Value: version},
						},
						Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: appPort}},
						ReadinessProbe: &corev1.Probe{
							ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http")}},
							PeriodSeconds: 1,
						},
						Resources: corev1.ResourceRequirements{
							Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi")},
							Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
						},
					}},
				},
			},
		},
	}
}

func service(namespace string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: appName},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": appName},
			Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}},
		},
	}
}
