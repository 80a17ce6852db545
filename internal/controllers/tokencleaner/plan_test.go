package tokencleaner

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func date(s string) time.Time {
	at, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return at
}

func TestRecordedLong(t *testing.T) {
	for _, test := range []struct {
		now  time.Time
		want bool
	}{
		{date("2025-03-01").Add(366*24*time.Hour - time.Second), false}, // the first day may have begun late
		{date("2025-03-01").Add(366 * 24 * time.Hour), true},
	} {
		if got := recordedLong(date("2025-03-01"), test.now); got != test.want {
			t.Errorf("at %s: %v", test.now, got)
		}
	}
}

func TestPlan(t *testing.T) {
	now := date("2026-03-02").Add(12 * time.Hour)
	const longAgo, justIn, justOut = "2020-01-01", "2025-03-02", "2025-03-01"
	pod := func(spec corev1.PodSpec) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}, Spec: spec}
	}
	container := func(c corev1.Container) corev1.Pod { return pod(corev1.PodSpec{Containers: []corev1.Container{c}}) }
	volume := func(v corev1.VolumeSource) corev1.Pod {
		return pod(corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: v}}})
	}
	token := corev1.LocalObjectReference{Name: "token"}
	for name, test := range map[string]struct {
		secret  func(*corev1.Secret)
		account func(*corev1.ServiceAccount)
		pod     corev1.Pod
		want    string
	}{
		"never used":          {want: "shut off"},
		"used a year ago":     {secret: func(s *corev1.Secret) { s.Labels = map[string]string{lastUsed: justOut} }, want: "shut off"},
		"used since":          {secret: func(s *corev1.Secret) { s.Labels = map[string]string{lastUsed: justIn} }},
		"use unreadable":      {secret: func(s *corev1.Secret) { s.Labels = map[string]string{lastUsed: "yesterday"} }},
		"young":               {secret: func(s *corev1.Secret) { s.CreationTimestamp.Time = date(justIn).Add(12 * time.Hour) }},
		"of another type":     {secret: func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }},
		"going":               {secret: func(s *corev1.Secret) { s.DeletionTimestamp = &metav1.Time{} }},
		"of no account":       {secret: func(s *corev1.Secret) { s.Annotations = nil }},
		"of another account":  {secret: func(s *corev1.Secret) { s.Annotations[corev1.ServiceAccountNameKey] = "other" }},
		"of an account gone":  {account: func(a *corev1.ServiceAccount) { a.UID = "2" }},
		"made by hand":        {account: func(a *corev1.ServiceAccount) { a.Secrets = nil }},
		"shut off a year ago": {secret: func(s *corev1.Secret) { s.Labels = map[string]string{invalidSince: justOut} }, want: "remove"},
		"shut off since":      {secret: func(s *corev1.Secret) { s.Labels = map[string]string{invalidSince: justIn} }},
		"shut off unreadably": {secret: func(s *corev1.Secret) { s.Labels = map[string]string{invalidSince: "true"} }, want: "shut off"},
		"shut off and used": {secret: func(s *corev1.Secret) {
			s.Labels = map[string]string{invalidSince: justOut, lastUsed: justIn}
		}},
		"elsewhere mounted": {
			pod:  corev1.Pod{Spec: corev1.PodSpec{ImagePullSecrets: []corev1.LocalObjectReference{token}}},
			want: "shut off",
		},
		"to pull with": {pod: pod(corev1.PodSpec{ImagePullSecrets: []corev1.LocalObjectReference{token}})},
		"environment": {pod: container(corev1.Container{EnvFrom: []corev1.EnvFromSource{{
			SecretRef: &corev1.SecretEnvSource{LocalObjectReference: token},
		}}})},
		"variable": {pod: container(corev1.Container{Env: []corev1.EnvVar{{ValueFrom: &corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: token},
		}}}})},
		"of an init container": {pod: pod(corev1.PodSpec{InitContainers: []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{
			SecretRef: &corev1.SecretEnvSource{LocalObjectReference: token},
		}}}}})},
		"of an ephemeral container": {pod: pod(corev1.PodSpec{EphemeralContainers: []corev1.EphemeralContainer{{
			EphemeralContainerCommon: corev1.EphemeralContainerCommon{EnvFrom: []corev1.EnvFromSource{{
				SecretRef: &corev1.SecretEnvSource{LocalObjectReference: token},
			}}},
		}}})},
		"volume": {pod: volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "token"}})},
		"projected": {pod: volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{Secret: &corev1.SecretProjection{LocalObjectReference: token}},
		}}})},
		"file share":       {pod: volume(corev1.VolumeSource{AzureFile: &corev1.AzureFileVolumeSource{SecretName: "token"}})},
		"storage driver":   {pod: volume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{NodePublishSecretRef: &token}})},
		"network storage":  {pod: volume(corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{SecretRef: &token}})},
		"something else's": {pod: volume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{}}), want: "shut off"},
	} {
		t.Run(name, func(t *testing.T) {
			secret := corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "ns", Name: "token", CreationTimestamp: metav1.NewTime(date(longAgo)),
					Annotations: map[string]string{corev1.ServiceAccountNameKey: "bot", corev1.ServiceAccountUIDKey: "1"},
				},
				Type: corev1.SecretTypeServiceAccountToken,
			}
			account := corev1.ServiceAccount{
				ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "bot", UID: "1"},
				Secrets:    []corev1.ObjectReference{{Name: "token"}},
			}
			if test.secret != nil {
				test.secret(&secret)
			}
			if test.account != nil {
				test.account(&account)
			}
			got := ""
			for _, a := range plan(snapshot{[]corev1.Secret{secret}, []corev1.ServiceAccount{account}, []corev1.Pod{test.pod}}, now) {
				if got = "shut off"; a.remove {
					got = "remove"
				}
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
