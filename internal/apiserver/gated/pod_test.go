package gated

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func TestTemplate(t *testing.T) {
	for name, tc := range map[string]struct{ spec, old, want string }{
		"stop signal":           {`{containers: [{name: a, lifecycle: {stopSignal: SIGINT}}]}`, ``, `{containers: [{name: a}]}`},
		"stop signal and hook":  {`{containers: [{name: a, lifecycle: {stopSignal: SIGINT, preStop: {}}}]}`, ``, `{containers: [{name: a, lifecycle: {preStop: {}}}]}`},
		"stop signal from long": {`{containers: [{name: a, lifecycle: {stopSignal: SIGINT}}]}`, `{initContainers: [{name: b, lifecycle: {stopSignal: SIGHUP}}]}`, `{containers: [{name: a, lifecycle: {stopSignal: SIGINT}}]}`},
		"probes":                {`{containers: [{name: a, livenessProbe: {httpGet: {protocol: HTTP2}}, startupProbe: {grpc: {port: 1, mode: TLS}}}]}`, ``, `{containers: [{name: a, livenessProbe: {httpGet: {}}, startupProbe: {grpc: {port: 1}}}]}`},
		"hooks":                 {`{containers: [{name: a, lifecycle: {postStart: {httpGet: {protocol: HTTP2}}}}]}`, ``, `{containers: [{name: a, lifecycle: {postStart: {httpGet: {}}}}]}`},
		"responders":            {`{evictionResponders: [{name: r}]}`, `{}`, `{}`},
		"volumes": {`{volumes: [{name: a, emptyDir: {mode: 1}}, {name: b, secret: {defaultUser: 1, items: [{user: 1}]}}, {name: c, downwardAPI: {items: [{user: 1}]}}, {name: d, projected: {sources: [{serviceAccountToken: {user: 1}}]}}]}`, ``,
			`{volumes: [{name: a, emptyDir: {}}, {name: b, secret: {items: [{}]}}, {name: c, downwardAPI: {items: [{}]}}, {name: d, projected: {sources: [{serviceAccountToken: {}}]}}]}`},
		"mounts":       {`{containers: [{name: a, volumeMounts: [{name: v, bindMountOptions: [noexec]}]}]}`, ``, `{containers: [{name: a, volumeMounts: [{name: v}]}]}`},
		"gangs stay":   {`{schedulingGroup: {podGroupName: g}}`, ``, `{schedulingGroup: {podGroupName: g}}`},
		"owner stays":  {`{volumes: [{name: b, configMap: {defaultUser: 2}}]}`, `{volumes: [{name: b, configMap: {items: [{user: 1}]}}]}`, `{volumes: [{name: b, configMap: {defaultUser: 2}}]}`},
		"nothing said": {`{containers: [{name: a}]}`, ``, `{containers: [{name: a}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			var spec, old, want corev1.PodTemplateSpec
			for text, into := range map[string]*corev1.PodTemplateSpec{tc.spec: &spec, tc.old: &old} {
				if err := yaml.Unmarshal([]byte("{spec: "+text+"}"), into); err != nil {
					t.Fatal(err)
				}
			}
			if err := yaml.Unmarshal([]byte("{spec: "+tc.want+"}"), &want); err != nil {
				t.Fatal(err)
			}
			if tc.old == "" {
				Template(&spec, nil)
			} else {
				Template(&spec, &old)
			}
			if diff := cmp.Diff(want, spec); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPodStatus(t *testing.T) {
	digest := &corev1.VolumeStatus{Image: &corev1.ImageVolumeStatus{ImageRef: "r"}}
	status := func(v *corev1.VolumeStatus) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{VolumeMounts: []corev1.VolumeMountStatus{{VolumeStatus: v}}}}}
	}
	p := &corev1.Pod{Status: status(digest)}
	Pod(p, &corev1.Pod{})
	if diff := cmp.Diff(status(nil), p.Status); diff != "" {
		t.Error(diff)
	}
	p.Status = status(digest)
	Pod(p, &corev1.Pod{Status: status(digest)})
	if diff := cmp.Diff(status(digest), p.Status); diff != "" {
		t.Error(diff)
	}
}

func TestJob(t *testing.T) {
	s := &batchv1.JobSpec{Scheduling: &batchv1.JobSchedulingConfiguration{}}
	Job(s, s.DeepCopy())
	if s.Scheduling == nil {
		t.Error("what is there already went")
	}
	Job(s, nil)
	if s.Scheduling != nil {
		t.Error("what is new stayed")
	}
}
