// What workerd serves beside the guest `hello`.
export default {
  fetch() {
    return new Response('hello\n');
  },
};
